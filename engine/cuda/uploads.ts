import type { Driver, PinnedMemory } from './driver.js';
import type { DeviceArray, DeviceMemory } from './memory.js';

/** A pinned buffer and one on the device, of the same size. */
interface Staging {
  readonly host: PinnedMemory;
  readonly device: DeviceArray;
}

interface Slot {
  staging?: Staging;
  /** Behind its last copy to the device, and behind the last read of it there. */
  readonly filled: bigint;
  readonly emptied: bigint;
}

/** What the driver reads before an upload returns, also of memory that is not pinned. */
const atOnce = 65536;

/**
 * Uploads that wait for no computation: values are copied to pinned memory, from there by a stream of their own to a
 * buffer on the device, while the backend's stream goes on with what it has; from the buffer they go to their place
 * in the order of that stream, after everything that was started before and reads what was there. Of two pairs of buffers one is
 * filled while the other is emptied. They grow with what is sent, up to a limit; larger arrays are sent in pieces.
 */
export class Uploads {
  private readonly slots: Slot[] = [];
  private next = 0;
  private stream: bigint | undefined;

  constructor(
    private readonly driver: Driver,
    private readonly memory: DeviceMemory,
    private readonly limitBytes = 1 << 28,
  ) {}

  /** Host to device, as if on the backend's stream; the array may change once this returns. */
  send(pointer: number, values: ArrayBufferView): void {
    if (values.byteLength <= atOnce) {
      this.driver.upload(pointer, values);
      return;
    }
    const { buffer, byteOffset, byteLength } = values;
    for (let from = 0; from < byteLength; from += this.limitBytes) {
      const size = Math.min(this.limitBytes, byteLength - from);
      this.sendPiece(pointer + from, new Uint8Array(buffer, byteOffset + from, size));
    }
  }

  private sendPiece(pointer: number, bytes: Uint8Array): void {
    const { driver } = this;
    const stream = (this.stream ??= driver.createStream());
    const slot = (this.slots[this.next] ??= {
      filled: driver.createEvent(),
      emptied: driver.createEvent(),
    });
    this.next = 1 - this.next;
    // Its copy before the last one: long done, unless uploads are all that happens.
    driver.await(slot.filled);
    const { host, device } = this.stagingOf(slot, bytes.length);
    host.bytes.set(bytes);
    driver.follow(stream, slot.emptied);
    driver.uploadPinned(device.pointer, host, bytes.length, stream);
    driver.mark(slot.filled, stream);
    driver.follow(driver.stream, slot.filled);
    driver.copy(pointer, device.pointer, bytes.length);
    driver.mark(slot.emptied, driver.stream);
  }

  /** The slot's buffers, larger ones if these do not do. */
  private stagingOf(slot: Slot, bytes: number): Staging {
    const { driver, memory } = this;
    if (slot.staging !== undefined && slot.staging.host.bytes.length >= bytes) return slot.staging;
    this.release(slot);
    const device = memory.allocate('bool', bytes, () => 'an upload');
    const staging = { host: driver.pin(bytes), device };
    slot.staging = staging;
    // The memory may still be in use by what the backend's stream has yet to do.
    driver.mark(slot.emptied, driver.stream);
    return staging;
  }

  private release(slot: Slot): void {
    if (slot.staging === undefined) return;
    this.driver.unpin(slot.staging.host);
    this.memory.release(slot.staging.device);
    slot.staging = undefined;
  }

  dispose(): void {
    for (const slot of this.slots) {
      this.driver.await(slot.filled);
      this.release(slot);
    }
  }
}
