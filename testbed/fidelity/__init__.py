"""Whether a run can be trusted: calibrate before it, watch during it, judge after it.

Read first: ``verdict.py``, which holds every limit with its reason.
"""
