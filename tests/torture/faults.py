"""What is done to a device, its link and the plane. Each fault heals itself; `World.heal` ends what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from edge import SECOND, LinesideError

if TYPE_CHECKING:
    from .device import Device
    from .disk import Disk
    from .world import World

Fault = Callable[["World", "Device"], Awaitable[None]]
DAY = 86_400


async def _for_a_while(world: World, most: float = 60.0) -> None:
    await asyncio.sleep(world.rng.choice((0.5, most / 6, most)) * world.rng.random())


# Link


async def link_cut(world: World, device: Device) -> None:
    device.link.cut = True
    await _for_a_while(world, world.rng.choice((20.0, 90.0, 400.0)))
    device.link.cut = False


async def half_open(world: World, device: Device) -> None:
    device.link.half_open = True
    await _for_a_while(world)
    device.link.half_open = False


async def slow(world: World, device: Device) -> None:
    device.link.delay = world.rng.choice((1.0, 8.0, 25.0))
    await _for_a_while(world)
    device.link.delay = 0.05


async def repeats(world: World, device: Device) -> None:
    device.link.repeat = 0.7
    await _for_a_while(world)
    device.link.repeat = 0.0


async def strays(world: World, device: Device) -> None:
    """Messages that arrive when they were given up and sent again: out of order."""
    device.link.stray = 0.4
    await _for_a_while(world)
    device.link.stray = 0.0


async def answers_lost(world: World, device: Device) -> None:
    device.link.deaf = 0.6
    await _for_a_while(world)
    device.link.deaf = 0.0


async def small_proxy(world: World, device: Device) -> None:
    device.link.proxy = True
    await _for_a_while(world)
    device.link.proxy = False


# Device


async def device_killed(world: World, device: Device) -> None:
    device.disk.stop()


async def device_power_cut(world: World, device: Device) -> None:
    if world.rng.random() < 0.8:
        device.disk.cut_after = world.rng.randint(1, 60)  # at a write or sync, wherever that is
    else:
        device.disk.cut()


async def device_disk_full(world: World, device: Device) -> None:
    await _full(world, device.disk)


async def device_disk_errors(world: World, device: Device) -> None:
    await _errors(world, device.disk)


async def device_clock_jumps(world: World, device: Device) -> None:
    seconds = world.rng.choice((-20 * 365 * DAY, 30 * DAY, 3600, -3600, 90, -90, 0.5, -0.5))
    device.clock.offset += round(seconds * 1000) * SECOND // 1000
    if world.rng.random() < 0.5:  # NTP sets it right later
        await _for_a_while(world, 120.0)
        device.clock.offset = 0


async def bit_flips(world: World, device: Device) -> None:
    """In a record that nobody else has, while the device is off."""
    if not device.up:
        return
    device.disk.stop()
    await asyncio.sleep(0.5)  # it is buried
    if device.up or device.journal is not None:
        return
    device.disk.boot()
    world.note(device.name, "flipped", device.flip())
    device.disk.off = True


async def disk_replaced(world: World, device: Device) -> None:
    if not device.up:
        return
    device.disk.stop()
    await asyncio.sleep(0.5)
    if device.up or device.journal is not None:
        return
    device.ledger.disk_ended(device.last_epoch)
    device.disk.replace({})
    device.copied_back = False


async def journal_copied_back(world: World, device: Device) -> None:
    """Somebody puts an older copy of its disk back. What was under way is over by then."""
    if not device.up:
        return
    files, held, epoch, key = device.disk.files(), device.ledger.copied(), device.last_epoch, device.key
    await asyncio.sleep(world.rng.uniform(10, 60))
    if not device.up or device.last_epoch != epoch or device.key is not key:
        return
    device.disk.stop()
    await asyncio.sleep(0.5)
    if device.up or device.journal is not None:
        return
    device.link.drop()
    device.disk.replace(files)
    device.ledger.put_back(held, epoch)
    device.copied_back = True


async def box_replaced(world: World, device: Device) -> None:
    """Another box goes on from a backup; the old one works until then, and some of what it sent is under way for longer."""
    try:
        backup = device.backup() if device.up and not device.copied_back else None
    except LinesideError:  # its disk has faults just now
        backup = None
    await _for_a_while(world)
    device.link.stray = 0.8
    await asyncio.sleep(world.rng.uniform(1, 10))
    device.link.stray = 0.0
    if backup is not None and backup.key is device.key and backup.journal["epoch"] == device.last_epoch:
        await asyncio.shield(world.moving(asyncio.ensure_future(device.moves_to_another_box(backup))))


# Plane


async def plane_killed(world: World, device: Device) -> None:
    world.plane.disk.stop()


async def plane_power_cut(world: World, device: Device) -> None:
    if world.rng.random() < 0.8:
        world.plane.disk.cut_after = world.rng.randint(1, 60)
    else:
        world.plane.disk.cut()


async def plane_disk_full(world: World, device: Device) -> None:
    await _full(world, world.plane.disk)


async def plane_disk_errors(world: World, device: Device) -> None:
    await _errors(world, world.plane.disk)


async def plane_backup(world: World, device: Device) -> None:
    if world.plane.up:
        world.plane.keep()


async def plane_restored(world: World, device: Device) -> None:
    """Put back to its last backup, sometimes while copies of what it had are still under way."""
    if world.rng.random() < 0.5:
        device.link.repeat = 0.9
        await asyncio.sleep(20)
        device.link.repeat = 0.0
    if not world.plane.up:
        return
    world.plane.disk.stop()
    await asyncio.sleep(0.2)
    if not world.plane.up:
        world.plane.put_back()


async def _full(world: World, disk: Disk) -> None:
    disk.full = True
    await _for_a_while(world)
    disk.full = False


async def _errors(world: World, disk: Disk) -> None:
    disk.refuse = world.rng.choice((0.05, 0.3, 1.0))
    await _for_a_while(world, 30.0)
    disk.refuse = 0.0


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        link_cut,
        half_open,
        slow,
        repeats,
        strays,
        answers_lost,
        small_proxy,
        device_killed,
        device_power_cut,
        device_disk_full,
        device_disk_errors,
        device_clock_jumps,
        bit_flips,
        disk_replaced,
        journal_copied_back,
        box_replaced,
        plane_killed,
        plane_power_cut,
        plane_disk_full,
        plane_disk_errors,
        plane_backup,
        plane_restored,
    )
}
WEIGHTS = {
    "device_power_cut": 4.0,
    "plane_power_cut": 2.0,
    "device_clock_jumps": 2.0,
    "device_disk_full": 1.5,
    "link_cut": 1.5,
}
WEIGHTS |= {"disk_replaced": 0.3, "journal_copied_back": 0.6, "box_replaced": 0.5, "plane_restored": 0.7}
