"""Parts of the generator. Nothing here imports or calls the project's packages."""
