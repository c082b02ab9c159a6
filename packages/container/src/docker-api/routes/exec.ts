// exec: made, started, resized and asked about by separate requests.

import type { ExecOptions } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { z } from 'zod';
import { encodeFrame } from '../../docker/multiplex.ts';
import { ContainerError } from '../../errors.ts';
import { type ApiCall, type RawConnection, writeTo } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { DetachKeys } from '../detach-keys.ts';
import type { ExecRecord } from '../exec-registry.ts';
import { containerOf } from '../find-container.ts';
import { InputQueue } from '../input-queue.ts';
import { relayInput, relayOutput } from '../relay.ts';
import { environmentOf } from '../spec-of-request.ts';
import { sizeOf } from './containers-life.ts';

const flag = z.boolean().nullish();
const createSchema = z.looseObject({
  AttachStdin: flag,
  AttachStdout: flag,
  AttachStderr: flag,
  Tty: flag,
  Privileged: flag,
  DetachKeys: z.string().nullish(),
  Env: z.array(z.string()).nullish(),
  Cmd: z.array(z.string()).nullish(),
  User: z.string().nullish(),
  WorkingDir: z.string().nullish(),
});
const startSchema = z.looseObject({ Detach: flag, Tty: flag });

/** `POST /containers/{id}/exec` */
export async function createExec(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const request = await call.json(createSchema);
  if (info.state !== 'running') {
    const why = info.state === 'paused' ? 'paused, unpause the container before exec' : 'not running';
    throw new ContainerError('ILLEGAL_TRANSITION', `Container ${info.id} is ${why}`);
  }
  const command = request.Cmd ?? [];
  if (command.length === 0) throw new ContainerError('INVALID_ARGUMENT', 'No exec command specified');
  if (request.Privileged === true) {
    throw new ContainerError('NOT_SUPPORTED', 'cannot exec with more privileges than the container has');
  }
  const record = context.execs.create({
    containerId: info.id,
    command,
    environment: environmentOf(request.Env ?? []),
    workingDirectory: request.WorkingDir || undefined,
    user: request.User || undefined,
    tty: request.Tty ?? false,
    attachStdin: request.AttachStdin ?? false,
    attachStdout: request.AttachStdout ?? false,
    attachStderr: request.AttachStderr ?? false,
    detachKeys: request.DetachKeys ?? '',
  });
  call.send(201, { Id: record.id });
}

/** `POST /exec/{id}/start` */
export async function startExec(context: ApiContext, call: ApiCall): Promise<void> {
  const record = context.execs.get(call.parameter('id'));
  const request = await call.json(startSchema);
  if (record.state !== 'created') {
    throw new ContainerError('ILLEGAL_TRANSITION', `exec ${record.id} has been started already`);
  }
  record.state = 'running';
  const detach = request.Detach ?? false;
  const input = new InputQueue();
  try {
    record.session = await context.runtime.exec(record.plan.containerId, execOptions(record, detach, input));
  } catch (error) {
    record.state = 'ended';
    record.exitCode =
      isHeptadError(error, 'EXEC_FAILED') && typeof error.details.exitCode === 'number'
        ? error.details.exitCode
        : 126;
    throw error;
  }
  const { session } = record;
  const exit = session.exit.then(
    (code) => finish(record, code),
    (error: unknown) => failed(record, error),
  );
  if (detach) return call.send(200);
  const connection = call.hijack(!record.plan.tty);
  await converse(record, connection, input);
  const failure = await exit;
  if (failure !== undefined) await writeTo(connection.output, failureBytes(record, failure));
  connection.output.end();
}

function execOptions(record: ExecRecord, detach: boolean, input: InputQueue): ExecOptions {
  const { plan } = record;
  return {
    command: plan.command,
    environment: plan.environment,
    ...(plan.workingDirectory === undefined ? {} : { workingDirectory: plan.workingDirectory }),
    ...(plan.user === undefined ? {} : { user: plan.user }),
    ...(plan.tty ? { tty: record.size ?? true } : {}),
    ...(detach ? { detach: true } : plan.attachStdin ? { stdin: input } : {}),
  };
}

/** Carries the streams until the command's output has ended or the client has left. */
async function converse(record: ExecRecord, connection: RawConnection, input: InputQueue): Promise<void> {
  const { session, plan } = record;
  const process = {
    stdout: session?.stdout,
    stderr: session?.stderr,
    write: plan.attachStdin ? (bytes: Uint8Array) => input.push(bytes) : undefined,
    end: async () => input.close(),
  };
  const keys = plan.tty ? new DetachKeys(plan.detachKeys) : undefined;
  relayInput(connection, process, keys).then(
    (how) => {
      if (how === 'detached') connection.output.end();
      input.close();
    },
    () => input.close(),
  );
  await relayOutput(connection, process, plan.tty);
}

function finish(record: ExecRecord, code: number): undefined {
  record.state = 'ended';
  record.exitCode = code;
}

function failed(record: ExecRecord, error: unknown): string {
  record.state = 'ended';
  const code = isHeptadError(error, 'EXEC_FAILED') ? error.details.exitCode : undefined;
  record.exitCode = typeof code === 'number' ? code : 126;
  return error instanceof Error ? error.message : String(error);
}

/** What Docker does with a command that never ran: it says so in the command's place. */
function failureBytes(record: ExecRecord, message: string): Uint8Array {
  const bytes = Buffer.from(`${message}\r\n`);
  return record.plan.tty ? bytes : encodeFrame('stderr', bytes);
}

/** `POST /exec/{id}/resize` */
export async function resizeExec(context: ApiContext, call: ApiCall): Promise<void> {
  const record = context.execs.get(call.parameter('id'));
  const size = sizeOf(call);
  if (size !== undefined) {
    if (record.session === undefined) record.size = size;
    else if (record.state === 'running') await record.session.resize(size);
  }
  call.send(200);
}

/** `GET /exec/{id}/json` */
export async function inspectExec(context: ApiContext, call: ApiCall): Promise<void> {
  const { id, plan, state, exitCode, session } = context.execs.get(call.parameter('id'));
  const [entrypoint = '', ...args] = plan.command;
  call.send(200, {
    ID: id,
    Running: state === 'running',
    ExitCode: exitCode ?? null,
    ProcessConfig: {
      tty: plan.tty,
      entrypoint,
      arguments: args,
      privileged: false,
      ...(plan.user === undefined ? {} : { user: plan.user }),
    },
    OpenStdin: plan.attachStdin,
    OpenStderr: plan.attachStderr,
    OpenStdout: plan.attachStdout,
    CanRemove: state === 'ended',
    ContainerID: plan.containerId,
    DetachKeys: plan.detachKeys,
    Pid: session?.pid ?? 0,
  });
}
