"""Putting a shape in force, with whatever this kernel offers: netem, token buckets, or a relay in user space.

Read first: ``base.py`` (the interface), then ``choose.py`` (who serves which link).
"""
