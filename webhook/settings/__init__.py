"""What the injector works with, read and checked once, when it starts and when something has changed.

    settings        Settings: values, mesh and injection configuration, and all that is made of them
    profiles        which templates a profile has, and its default values
    library         the templates that pods can ask for, compiled
    foreign         templates in Go's language, for which ours stand: what somebody changed in them
    policy          what decides for pods that do not say it themselves
    proxyconfig     the proxy configuration of mesh and pods, merged
    proxyconfigs    ProxyConfig resources, and which of them count for a pod
    containerpatch  patches that users lay over what a template gives
    containers      names of the containers that injection adds

Frozen values, shared by all requests. May import `template`, `errors` and `common`; knows nothing of pods.
"""

from webhook.settings.settings import Settings as Settings
