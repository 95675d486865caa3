"""Create the buckets that are missing, with versions: the service `buckets` of compose.yaml."""

import os
import sys

import boto3

storage = boto3.client("s3")
there = {bucket["Name"] for bucket in storage.list_buckets()["Buckets"]}
for place in ("LAKE_INGESTION", "LAKE_PROCESSED", "UPLOADS_PLACE"):
    name = os.environ[place].removeprefix("s3://").split("/")[0]
    if name not in there:
        region = os.environ["AWS_REGION"]
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        storage.create_bucket(Bucket=name, **where)
        sys.stdout.write(f"The bucket {name} has been created.\n")
    storage.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
