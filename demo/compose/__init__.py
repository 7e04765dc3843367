"""What docker-compose.yml needs beside the images.

bootstrap     keys, certificates and join tokens, each laid where its one reader finds it
directory/    the YAML that destination follows; edits are in force at once
"""
