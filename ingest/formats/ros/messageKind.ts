import type { EncodeOptions } from '../../format.js';
import { eventArrays } from './eventArray.js';
import { eventPackets } from './eventPacketWriter.js';
import type { MessageKind } from './written.js';

/** The messages that a bag is to be written with. */
export const messageKind = ({ rosMessage }: EncodeOptions, ros: 1 | 2): MessageKind =>
  rosMessage === 'EventPacket' ? eventPackets(ros) : eventArrays(ros);
