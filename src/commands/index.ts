import type { RegisterCommand } from '../io.js';
import { registerBench } from './bench.js';
import { registerBundle } from './bundle.js';
import { registerCache } from './cache.js';
import { registerCalibrate } from './calibrate.js';
import { registerCompare } from './compare.js';
import { registerConvert } from './convert.js';
import { registerDataset } from './dataset.js';
import { registerDemo } from './demo.js';
import { registerDoctor } from './doctor.js';
import { registerEval } from './eval.js';
import { registerFitHots } from './fitHots.js';
import { registerInfer } from './infer.js';
import { registerInfo } from './info.js';
import { registerJobs } from './jobs.js';
import { registerPretrain } from './pretrain.js';
import { registerRepresent } from './represent.js';
import { registerServe } from './serve.js';
import { registerSimulate } from './simulate.js';
import { registerStream } from './stream.js';
import { registerSubmit } from './submit.js';
import { registerTrain } from './train.js';
import { registerView } from './view.js';
import { registerWorker } from './worker.js';

/** Every command, in the order of the help. One more is one line here. */
export const commands: readonly RegisterCommand[] = [
  registerInfo,
  registerView,
  registerConvert,
  registerRepresent,
  registerFitHots,
  registerSimulate,
  registerDataset,
  registerCache,
  registerPretrain,
  registerTrain,
  registerEval,
  registerCalibrate,
  registerCompare,
  registerInfer,
  registerStream,
  registerServe,
  registerBench,
  registerWorker,
  registerSubmit,
  registerJobs,
  registerDemo,
  registerDoctor,
  registerBundle,
];
