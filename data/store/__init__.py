"""Read, write and check datasets on disk: Parquet tables, manifest, publication."""
