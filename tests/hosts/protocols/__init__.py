"""Clients and servers that nobody here wrote, through two proxies with real interception, in one mesh."""
