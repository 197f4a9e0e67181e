"""The drawing of a made-up picture collection, by code alone.

A *subject* (``places``, ``sea``, ``towns``, ``things``, ``nature``, ``saints``,
``portraits``, ``geometry``) lays out a scene on a ``Canvas`` in flat colours and
contours; a *manner* (``prints``, ``drawings``, ``paints``) turns the scene into a
picture of one medium; ``periods`` says which of them belong to which years, and
``studio`` draws the sheet.
"""
