"""`pymesh proxy-config`: what a proxy has.

admin API | file ──dump──▶ clusters, listeners, … ──show──▶ those asked for ──tables──▶ text; or as JSON or YAML
"""
