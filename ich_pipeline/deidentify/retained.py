"""What a de-identified CT image may hold: every attribute that is not named here goes, whatever the profile's table says.

The table of PS3.15 cannot know what a site writes where; a CT image and this pipeline need only these (PS3.3 A.3, A.38).
"""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword

from ich_pipeline.deidentify.options import Options


def _tags(*lists: str) -> frozenset[int]:
    found = {keyword: tag_for_keyword(keyword) for text in lists for keyword in text.split()}
    missing = [keyword for keyword, tag in found.items() if tag is None]
    if missing:
        raise KeyError(f"no DICOM keywords: {missing}")
    return frozenset(tag for tag in found.values() if tag is not None)


# Replaced or emptied by the profile, and needed for a valid object or by the pipeline.
_IDENTITY = _tags(
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID AccessionNumber StudyID PatientName "
    "PatientID PatientBirthDate PatientSex ReferringPhysicianName StudyDate StudyTime ContentDate ContentTime "
    "ContrastBolusAgent IrradiationEventUID ConcatenationUID SOPInstanceUIDOfConcatenationSource DimensionOrganizationUID "
    "ReferencedSOPClassUID ReferencedSOPInstanceUID"
)
# Numbers and coded strings.
_VALUES = _tags(
    "ImageType Modality BodyPartExamined ScanOptions SliceThickness KVP SpacingBetweenSlices DataCollectionDiameter "
    "ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient GantryDetectorTilt TableHeight RotationDirection "
    "ExposureTime XRayTubeCurrent Exposure ExposureInuAs FilterType GeneratorPower FocalSpots PatientPosition AcquisitionType "
    "RevolutionTime SingleCollimationWidth TotalCollimationWidth TableSpeed TableFeedPerRotation SpiralPitchFactor "
    "ExposureModulationType EstimatedDoseSaving CTDIvol DataCollectionCenterPatient ReconstructionTargetCenterPatient "
    "SpatialResolution TubeAngle ConstantVolumeFlag FluoroscopyFlag ReconstructionAlgorithm ReconstructionAngle MultienergyCTAcquisition",
    "SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient SliceLocation Laterality "
    "ImageLaterality PatientOrientation TemporalPositionIndex InConcatenationNumber InConcatenationTotalNumber "
    "ConcatenationFrameOffsetNumber ImagesInAcquisition",
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing PixelAspectRatio "
    "BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue PixelPaddingValue "
    "PixelPaddingRangeLimit WindowCenter WindowWidth RescaleIntercept RescaleSlope VOILUTFunction BurnedInAnnotation "
    "LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod PixelPresentation VolumetricProperties "
    "VolumeBasedCalculationTechnique ContentQualification PresentationLUTShape ContrastBolusAgentNumber "
    "ContrastBolusAgentAdministered ContrastBolusAgentDetected ContrastBolusAgentPhase",
)
# Enhanced CT: the groups that hold the above for each frame.
_STRUCTURE = _tags(
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence "
    "PlaneOrientationSequence FrameContentSequence PixelValueTransformationSequence FrameVOILUTSequence CTImageFrameTypeSequence "
    "CTAcquisitionTypeSequence CTAcquisitionDetailsSequence CTTableDynamicsSequence CTPositionSequence CTGeometrySequence "
    "CTReconstructionSequence CTExposureSequence CTXRayDetailsSequence DimensionIndexSequence "
    "IrradiationEventIdentificationSequence UnassignedSharedConvertedAttributesSequence "
    "UnassignedPerFrameConvertedAttributesSequence ReferencedImageSequence SourceImageSequence DimensionOrganizationSequence "
    "ContrastBolusUsageSequence",
    "FrameType FrameAcquisitionNumber FrameReferenceDateTime FrameAcquisitionDateTime FrameAcquisitionDuration "
    "DimensionIndexValues StackID InStackPositionNumber DimensionIndexPointer FunctionalGroupPointer ReferencedFrameNumber "
    "XRayTubeCurrentInmA ExposureInmAs ExposureTimeInms",
)
# Free text of machines, kept by its known words alone.
_TEXT = _tags(
    "Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel ConvolutionKernelGroup ContrastBolusRoute "
    "RescaleType WindowCenterWidthExplanation PositionReferenceIndicator"
)
PIXELS = _tags("PixelData ExtendedOffsetTable ExtendedOffsetTableLengths")
KERNELS = _tags("ConvolutionKernel FilterType SeriesDescription ProtocolName")

# What an option keeps that the basic profile removes (table E.1-1, the option's own column).
DESCRIPTORS = _tags("SeriesDescription StudyDescription ProtocolName AcquisitionProtocolDescription")
DATES = _tags(
    "StudyDate StudyTime SeriesDate SeriesTime AcquisitionDate AcquisitionTime ContentDate ContentTime InstanceCreationDate "
    "InstanceCreationTime AcquisitionDateTime FrameReferenceDateTime FrameAcquisitionDateTime"
)
CHARACTERISTICS = _tags(
    "PatientAge PatientSex PatientSize PatientWeight PatientSexNeutered SmokingStatus PregnancyStatus"
)
DEVICE = _tags(
    "DeviceSerialNumber DeviceUID StationName GantryID GeneratorID DetectorID CassetteID PlateID PerformedStationName "
    "PerformedStationAETitle StationAETitle"
)


def retained(options: Options) -> frozenset[int]:
    """Tags of the attributes that may be in the output."""
    tags = _IDENTITY | _VALUES | _STRUCTURE | _TEXT | PIXELS
    if options.descriptors:
        tags |= DESCRIPTORS
    if options.dates == "shift":
        tags |= DATES
    if options.patient_characteristics:
        tags |= CHARACTERISTICS
    if options.device_identity:
        tags |= DEVICE
    return tags
