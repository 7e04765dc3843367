"""identity: who may come onto the bus, who is who, and whom the mesh trusts.

settings      what it is told from the environment
source        where the mesh directory comes from, and what goes with that
directory     the mesh directory: where keys and certificates lie
bootstrap     makes one (`python -m services.identity.bootstrap DIR`)
roots         trust anchors, issuers and the certificate of NATS itself
accounts      NATS's accounts, and what passes between them
nats_config   the server's configuration: TLS, accounts, static users, callout
nats_files    its keys, its certificate, and a configuration for each node

callout       a connection knocks: the server's question and our answer, as signed JWTs
nkey          NATS's keys, which sign both
xkey          and others, which seal both in boxes
keyring       those of ours, the old and the new while they are replaced
live          what files say, read again whenever they change
attest        what the token shows: who somebody is
tokens        join tokens: issued for a workload, and known again
spent         which of them were used: each attests once
proofs        by the key of a leaf that a workload holds already
verdicts      what was found out a moment ago
people        people by name, each with a key and a role
credentials   what such a person is given
permissions   identity → subjects that it may use
patterns      subjects with wildcards, compared
admission     the above put together: admitted or refused, and why
system        what the NATS servers tell and do: who is connected, end that
turnout       whoever may no longer use the bus is shown out

authority     a signing request is checked, signed, and read back
certifier     answers `certify` on the bus
leaves        who shows which leaf now
flood         nobody gets more than a share

inputs        anchors and issuer, read again whenever the files change
bundle        documents of identity, kept on the bus
store         where the mesh directory is kept: durable first, in force then
progress      how far a rotation of the anchor is
material      what it does to the files
steps         one step after the other, forth and back
streams       which nobody else may make or change
roster        who is there, and what each has acknowledged
stock         how far everybody is, and whom a rotation waits for
presence      who is connected to NATS
rotation      drives it all, by the holder of the lease
server_certificate   NATS's own certificate, renewed
server_files         and read by its servers, with all else that is theirs
parts         partial copies of the mesh directory, kept current
leader        what the holder of the lease does
driver        what driving a rotation is, of the anchor or of keys

key_progress  how far a rotation of the bus's own keys is
key_files     what it does to the files
key_steps     one step after the other, and back
holders       who is connected with which key
key_rotation  drives that

cluster/      all this in Kubernetes (`python -m services.identity.cluster bootstrap`)
journal       what happened, to the log and to the bus
"""
