"""What the proxy knows from the bus, what it says there, and what it keeps over a restart.

certify    who it is: asks for certificates, renews them, shows them to the bus
another    when to ask for another certificate, because another anchor signs
held       a leaf, and the TLS contexts made of it
trust      whom it trusts
kept       documents on disk
watch      one document, followed
discovery  where things are
policy     what it must know about its own workload
notices    what people should hear of its decisions
report     phases, measurements, acknowledgements
"""
