"""Reading the files of recorded serverless workloads: row by row, and keeping only what is chosen.

``table.py`` reads any of their CSV files, ``choice.py`` picks functions and names them, ``days2019.py`` and
``calls2021.py`` know one format each. The arrival models that replay them are beside, in ``arrivals/``.
"""
