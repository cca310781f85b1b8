"""Hostile input for the commands over files and the pipeline behind them.

    python -m tests.fuzz [--seconds N] [--seed N]     mutates pods, guided by coverage where atheris is installed

What it finds goes to corpus/, one file each; tests/unit/webhook/pod/test_hostile.py runs all of them every time.
"""
