"""Language models behind one interface: remote services, their batches and cache, local models."""
