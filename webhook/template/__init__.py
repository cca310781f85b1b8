"""The template language: YAML with ${expressions}, compiled when settings load into one Python function a template.

    text ──document.parse──▶ nodes ──compiler (expressions.py for what stands in ${…})──▶ a function ──render──▶ overlay

docs/templates.md describes the language. What depends on the settings alone is computed at compile time: such
subtrees are built once and shared by all pods, so nothing may change what a template returns.

May import `errors`, `common` and, for what templates call (`functions`), the configuration of `init`.
"""

from webhook.template.template import Template as Template
