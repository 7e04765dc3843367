"""The demo's application: plain programs of the standard library that know nothing of the mesh.

plain       what they share: a server, a client, a tally of both
traffic     asks web for a page, so many times a second
web         makes a page of what books recommends
books       recommends a book and asks authors who wrote it
authors     knows who wrote what
"""
