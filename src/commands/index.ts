import type { RegisterCommand } from '../io.js';
import { registerConvert } from './convert.js';
import { registerDoctor } from './doctor.js';
import { registerInfo } from './info.js';
import { registerRepresent } from './represent.js';
import { registerSimulate } from './simulate.js';

/** Every command, in the order of the help. One more is one line here. */
export const commands: readonly RegisterCommand[] = [
  registerInfo,
  registerConvert,
  registerRepresent,
  registerSimulate,
  registerDoctor,
];
