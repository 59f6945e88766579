"""HTTP/1.1 as a client: connections, response heads, pools, proxies, TLS. It knows nothing of registries."""
