/** Tasks of a thread that runs jobs. */
import { evaluateJob } from './evaluate.js';
import { trainJob } from './train.js';

export default function jobTasks() {
  return { trainJob, evaluateJob };
}
