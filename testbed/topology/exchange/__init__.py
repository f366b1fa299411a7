"""Networks of other programs, read into topologies, and topologies written for other programs.

Read first: ``sketch.py`` (what every reader makes), then ``formats.py`` (which reader and writer there are). Readers:
``graphml.py``, ``containerlab.py``, ``mininet_script.py``; writers: ``graphml_out.py``, ``dot.py``, ``plain_json.py``.
A reader says of everything that it leaves out, in a sentence with its line.
"""
