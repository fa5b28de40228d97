"""FUSE daemons in pods of their own (`driver_ref --launcher pod`): how they serve, and what happens where something fails."""
