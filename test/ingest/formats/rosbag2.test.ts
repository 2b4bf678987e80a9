import { rosbag2 } from '../../../ingest/formats/rosbag2.js';
import { describeFormat } from '../formatConformance.js';
import { asPackets, rosRange } from './rosMessages.js';

describeFormat(rosbag2, { ...rosRange, headerLength: 5 * 4096 });
describeFormat(asPackets(rosbag2), { ...rosRange, headerLength: 5 * 4096 });
