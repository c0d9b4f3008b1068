"""What the dashboard's pages share; the pages themselves lie in ``app_pages``."""
