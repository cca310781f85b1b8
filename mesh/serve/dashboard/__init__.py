"""The dashboard: a page that shows the mesh as it is, and the few GETs that it reads. It changes nothing.

app      the page's files and its API, over a `Source`: served at 15014, and by `pymesh dashboard`
guard    who is answered: this machine, by its own name, and no other site's script
live     the control plane's own source
shown    what the objects say, as JSON
static   the page: HTML, CSS and ES modules, as they are; nothing builds them, and they load nothing from elsewhere
"""
