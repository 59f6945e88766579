"""Print the role, the replica and the working directory of this job."""

import os

print(f"hello from {os.environ['TOPCOAT_ROLE']}/{os.environ['TOPCOAT_REPLICA_ID']} in {os.getcwd()}")
print("learning rate 0.1")
