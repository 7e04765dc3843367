"""What to do with a request: pure functions of values, no I/O, tested with tables.

route      which service does a name mean?
authorize  may this client talk to this port?
zones      which endpoints are meant for this zone?
balance    which endpoint takes it?
candidate  what is known of an endpoint?
breaker    is that endpoint fit to be asked?
grpc       how did a call end, and how long may it take?
answer     how is a no said?
"""
