"""Language models behind one interface: remote, batched, cached, local."""
