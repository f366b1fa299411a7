"""The figures: one file each, found by listing this folder.

A file defines ``TITLE``, ``NEEDS`` (tables) and ``draw(frames)``; read ``throughput.py`` first.
A figure draws what the datasets hold and never leaves out failures without saying so.
"""
