"""The one SQLite database: connections, migrations, named SQL, views, snapshots."""
