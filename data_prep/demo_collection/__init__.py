"""The drawing of a made-up picture collection, by code alone.

A *subject* (``subjects``) lays out a scene on a ``Canvas`` in flat colours and lines; a
*medium* (``media``) turns the scene into a picture; ``periods`` says which of them
belong to which years, and draws a sheet; ``collection`` draws all, with their tables.
"""
