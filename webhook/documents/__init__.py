"""Files of users: what is in them, where their pods are, and how to change those without touching the rest.

    files.read ──▶ Document (text, value, line) ──pods.find──▶ pod templates ──…──▶ new value ──edit──▶ new text

A document that does not change is written back byte for byte. In one that does, only the lines that change are
rewritten: comments, quotes, anchors and indentation of all others stay, and a diff shows the sidecar and nothing else.

`offline` injects such a document and takes injection back; `causes` finds where each part of the result comes from. May
import `pod` and what is below it, and `common.yamlio`.
"""
