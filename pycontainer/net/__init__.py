"""Networks: links, addresses, firewall. The only importer of pyroute2."""
