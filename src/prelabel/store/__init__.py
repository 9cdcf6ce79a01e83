"""What outlives a process: jobs, learnt versions and runs, in SQLite or PostgreSQL."""
