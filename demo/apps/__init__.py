"""The demo's application: plain programs that know nothing of the mesh, nor of anything but the standard
library; ratings alone needs grpcio.

plain       what they share: a server, a client, tallies of both
traffic     asks web for a page, so many times a second
web         makes a page of what books recommends
books       recommends a book and asks authors who wrote it
authors     knows who wrote what
ratings     knows what readers thought of a book, by gRPC (`--protocols`)
cache       keeps counts, in lines over plain TCP (`--protocols`)
"""
