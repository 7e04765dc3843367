"""How traffic comes to the proxy without the application knowing: netfilter rules.

ports       `80,8000-8100`: ports and ranges as people write them
rules       settings in, rules out: pure
program     the rules as a document for iptables-restore and as commands to read
firewall    finds an iptables that works here, and runs it
__main__    `python -m proxy.redirect`, what the init container runs
"""
