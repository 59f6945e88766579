"""An HTTP/1.1 client: connections, responses, pools, proxies and TLS. It knows nothing of registries."""
