import { rosbag2 } from '../../../ingest/formats/rosbag2.js';
import { describeFormat } from '../formatConformance.js';
import { asPackets, rosRange } from './rosMessages.js';

// Each file is a database of its own.
const range = { ...rosRange, headerLength: 5 * 4096, share: 0.2 };

describeFormat(rosbag2, range);
describeFormat(asPackets(rosbag2), range);
