"""What happened, counted while it happens and told when somebody asks.

counters    plain integers, found once and incremented in place
exposition  the same for `/metrics`
"""
