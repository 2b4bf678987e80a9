import { trace, type Tracer } from '@opentelemetry/api';
import type { Telemetry } from 'bullmq';

/** The variable that asks for traces, as OpenTelemetry has it. */
export const tracesVariable = 'OTEL_EXPORTER_OTLP_ENDPOINT';

/** Name under which spans are recorded. */
export const tracerName = 'saccade';

/**
 * Sends traces by OTLP over HTTP to where the environment says, from now on; nothing where it says nothing. The exporter
 * reads the standard's variables itself.
 *
 * @returns what ends it, sending what waits.
 */
export async function startTracing(
  env: Readonly<Record<string, string | undefined>>,
  service: string,
): Promise<(() => Promise<void>) | undefined> {
  if (!env[tracesVariable]) return undefined;
  const [
    { BatchSpanProcessor, NodeTracerProvider },
    { OTLPTraceExporter },
    { resourceFromAttributes },
  ] = await Promise.all([
    import('@opentelemetry/sdk-trace-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': env.OTEL_SERVICE_NAME || service }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return () => provider.shutdown();
}

/** What makes spans of jobs, where traces are asked for: from who submits them to who does them. */
export async function queueTelemetry(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Telemetry | undefined> {
  if (!env[tracesVariable]) return undefined;
  const { BullMQOtel } = await import('bullmq-otel');
  return new BullMQOtel({ tracerName });
}

/** Records spans where tracing was started, and does nothing otherwise. */
export function tracer(): Tracer {
  return trace.getTracer(tracerName);
}
