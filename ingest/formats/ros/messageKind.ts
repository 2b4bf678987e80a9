import { SaccadeError } from '../../../engine/support/errors.js';
import { checkVariant, type EncodeOptions } from '../../format.js';
import { eventArrays } from './eventArray.js';
import { eventPackets, packetVariants } from './eventPacketWriter.js';
import type { MessageKind } from './written.js';

/** The messages that a bag is to be written with; variants are encodings of `EventPacket`. */
export function messageKind(options: EncodeOptions, ros: 1 | 2): MessageKind {
  const { rosMessage, variant } = options;
  checkVariant({ name: 'EventPacket', variants: packetVariants }, variant);
  if (variant !== undefined && rosMessage === 'EventArray') {
    throw new SaccadeError('usage', `variant "${variant}" is of EventPacket, not of EventArray`);
  }
  return rosMessage === 'EventPacket' || variant !== undefined
    ? eventPackets(ros)
    : eventArrays(ros);
}
