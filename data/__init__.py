"""What a dataset is made of: records, schemas, the store, the skeleton and the video reader."""
