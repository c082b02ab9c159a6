// The whole public face of @heptad/container.

export { readSbom } from './build/attach-sbom.ts';
export { type BuildDockerfileOptions, buildDockerfile } from './build/build-dockerfile.ts';
export { type BuildImageOptions, buildImage, planImage } from './build/build-image.ts';
export {
  type BuildNodeImageOptions,
  type BuildProgress,
  type BuiltImage,
  buildNodeImage,
} from './build/build-node-image.ts';
export type { Sbom, SbomComponent } from './build/sbom.ts';
export type { CheckOptions, CheckReport, Damage } from './check.ts';
export { Container } from './container.ts';
export { DockerRuntime, type DockerRuntimeOptions } from './docker/docker-runtime.ts';
export type { DockerImageOptions } from './docker/images.ts';
export type { DockerProgress } from './docker/json-stream.ts';
export {
  ContainerEngine,
  type ContainerEngineOptions,
  type EngineNetworkOptions,
  type EngineProbe,
  type RunOptions,
} from './engine.ts';
export { ContainerError, type ContainerErrorCode } from './errors.ts';
export type { LoadOptions } from './image/archive-load.ts';
export type { ArchiveTarget } from './image/archive-save.ts';
export type { Labels } from './image/content-labels.ts';
export type { BlobReader, ContentSource, ContentStore } from './image/content-store.ts';
export type { BlobInfo, ContentWriter, ExpectedContent, IngestStatus } from './image/content-writer.ts';
export type { GarbageOptions, GarbageReport } from './image/garbage.ts';
export type { ImageHistoryEntry } from './image/history.ts';
export {
  type Image,
  ImageStore,
  type ImageStoreOptions,
  type ImageSummary,
  type ImageTag,
} from './image/image-store.ts';
export type { LayerLimits } from './image/layer-limits.ts';
export type { Lease, LeasedResource, LeaseInfo, LeaseManager, LeaseOptions } from './image/leases.ts';
export type { Descriptor } from './image/manifest.ts';
export type { Mount } from './image/mounts.ts';
export type { Referrer } from './image/referrers.ts';
export type { Snapshot, SnapshotKind } from './image/snapshot-info.ts';
export type { SnapshotOptions, Snapshotter } from './image/snapshotter.ts';
export type { Attachment, AttachRequest, ExposedPort, NetworkBackend } from './network/backend.ts';
export type { CniBridgeOptions } from './network/bridge-config.ts';
export { CniBridgeNetwork } from './network/cni-bridge.ts';
export { EngineNetwork, type EngineNetworkSetup } from './network/engine-network.ts';
export type {
  NetworkInfo,
  NetworkMember,
  NetworkSpec,
  PortExposure,
} from './network/network-info.ts';
export { Networks } from './network/networks.ts';
export { SlirpNetwork } from './network/slirp.ts';
export type { IdPool } from './oci/id-ranges.ts';
export { OciRuntime, type OciRuntimeOptions } from './oci/oci-runtime.ts';
export { ProcessRuntime, type ProcessRuntimeOptions } from './process/process-runtime.ts';
export type { RegistryCredentials } from './registry/credentials.ts';
export { type EnsureImageOptions, ensureImage, type PullPolicy } from './registry/ensure-image.ts';
export type { FetchedManifest } from './registry/manifest-source.ts';
export type { Operation } from './registry/operation.ts';
export type { TransferEvent } from './registry/progress.ts';
export type { PulledImage, PullOptions } from './registry/pull.ts';
export type { PushedImage, PushOptions } from './registry/push.ts';
export type { RegistryReferrer } from './registry/referrers.ts';
export { RegistryClient, type RegistryClientOptions } from './registry/registry-client.ts';
export type { RetryOptions } from './registry/retry.ts';
export { enterRootless, isRootless } from './rootless/enter.ts';
export type { SignatureClaims } from './trust/claims.ts';
export { generateSigningKeys, type SigningKeys } from './trust/keys.ts';
export {
  parseTrustPolicy,
  type TrustDecision,
  type TrustPolicy,
  type TrustRequirement,
  type TrustRule,
} from './trust/policy.ts';
export { type SignedImage, type SignImageOptions, signImage } from './trust/sign-image.ts';
export type { TrustGate, TrustVerdict } from './trust/trust-gate.ts';
export {
  type SignatureRequirements,
  type VerifiedImage,
  type VerifiedSignature,
  verifyImage,
} from './trust/verify-image.ts';
export type { Accelerator } from './vm/accelerator.ts';
export type { DiskSnapshot } from './vm/disks.ts';
export type { HostFigures } from './vm/figures.ts';
export type { MachineSettings } from './vm/make-driver.ts';
export type { Virtualization } from './vm/platform.ts';
export { type CloneOptions, VirtualMachines, type VmInfo } from './vm/virtual-machines.ts';
export { VmRuntime, type VmRuntimeOptions } from './vm/vm-runtime.ts';
