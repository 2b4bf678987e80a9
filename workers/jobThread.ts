import { ComputeThread, type Tasks } from '../engine/computeThread.js';
import type { JobContext } from './job.js';
import type jobTasks from './jobTasks.js';

type Jobs = ReturnType<typeof jobTasks> & Tasks;

/**
 * Runs a job in a thread of its own, so that the caller's event loop goes on turning: training in a
 * service. The context works as in this thread; a job looks at its signal between steps.
 *
 * @throws what the job throws.
 */
export async function runJobInThread<Name extends keyof Jobs & string>(
  name: Name,
  job: Parameters<Jobs[Name]>[0],
  context: JobContext = {},
): Promise<Awaited<ReturnType<Jobs[Name]>>> {
  const module = new URL('./jobTasks.js', import.meta.url);
  const thread = await ComputeThread.start<Jobs>(module, undefined);
  try {
    return await thread.run(name, job, context);
  } finally {
    await thread.close();
  }
}
