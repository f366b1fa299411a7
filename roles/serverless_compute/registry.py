"""The registry: has all images at the start, and gives them."""

from __future__ import annotations

from typing import ClassVar

from roles.serverless_compute.messages import ADD_IMAGE, AddImage, Done
from roles.serverless_compute.options import RegistryOptions
from testbed.roles.api import Environment, Parameters, Role, Site


class Registry(Role):
    """Images are files of the right size on its disk."""

    parameters_model: ClassVar[type[Parameters]] = RegistryOptions

    def __init__(self, site: Site, parameters: RegistryOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters

    async def start(self, env: Environment) -> None:
        """Have the images of the experiment's functions, and serve."""
        self.files = env.files("images", self.options.disk_read)
        for function in self.site.functions.values():
            self.files.create(function.image or function.name, function.image_bytes)
        await self.files.serve(self.options.files_port)
        await env.serve(self.options.port, {ADD_IMAGE: self.add})

    async def add(self, request: AddImage) -> Done:
        """Make an image, or another one in the place of it."""
        try:
            self.files.create(request.image, request.size_bytes)
        except (ValueError, OSError) as error:
            return Done("bad_input", str(error))
        return Done()
