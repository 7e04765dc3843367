"""What to do with a request: pure functions of values, no I/O, tested with tables.

route      which service does a name mean?
authorize  may this client talk to this port?
balance    which endpoint takes it?
answer     how is a no said?
grpc       how did a call end?
"""
