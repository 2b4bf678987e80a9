import type { RegisterCommand } from '../io.js';
import { registerCompare } from './compare.js';
import { registerConvert } from './convert.js';
import { registerDataset } from './dataset.js';
import { registerDemo } from './demo.js';
import { registerDoctor } from './doctor.js';
import { registerEval } from './eval.js';
import { registerInfer } from './infer.js';
import { registerInfo } from './info.js';
import { registerJobs } from './jobs.js';
import { registerRepresent } from './represent.js';
import { registerSimulate } from './simulate.js';
import { registerStream } from './stream.js';
import { registerSubmit } from './submit.js';
import { registerTrain } from './train.js';
import { registerWorker } from './worker.js';

/** Every command, in the order of the help. One more is one line here. */
export const commands: readonly RegisterCommand[] = [
  registerInfo,
  registerConvert,
  registerRepresent,
  registerSimulate,
  registerDataset,
  registerTrain,
  registerEval,
  registerCompare,
  registerInfer,
  registerStream,
  registerWorker,
  registerSubmit,
  registerJobs,
  registerDemo,
  registerDoctor,
];
