"""Networks as data: read from YAML, checked, addressed, routed and drawn; nothing here touches the kernel.

Read first: ``model.py``, then ``load.py``. Import what you need from the module that defines it.
"""
