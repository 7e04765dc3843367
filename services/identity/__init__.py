"""identity: who may come onto the bus, who is who, and whom the mesh trusts.

settings      what it is told from the environment
directory     the mesh directory: where keys and certificates lie
bootstrap     makes one (`python -m services.identity.bootstrap DIR`)
roots         trust anchors, issuers and the certificate of NATS itself
nats_config   the server's configuration: TLS, accounts, static users, callout
nats_files    its keys, its certificate, and a configuration for each node

callout       a connection knocks: the server's question and our answer, as signed JWTs
nkey          NATS's keys, which sign both
xkey          and others, which seal both in boxes
attest        what the token shows: who somebody is
tokens        join tokens: issued for a workload, and known again
spent         which of them were used: each attests once
proofs        by the key of a leaf that a workload holds already
verdicts      what was found out a moment ago
people        people by name, each with a key and a role
permissions   identity → subjects that it may use
admission     the above put together: admitted or refused, and why
system        what the NATS servers tell and do: who is connected, end that
turnout       whoever may no longer use the bus is shown out

authority     a signing request is checked, signed, and read back
certifier     answers `certify` on the bus
leaves        who shows which leaf now
flood         nobody gets more than a share
bundle        publishes the trust anchors

journal       what happened, to the log and to the bus
"""
