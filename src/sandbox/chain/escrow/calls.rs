//! The escrow contract's interface, and what the parties of an agreement sign.
//!
//! The names and types of what is signed are those of the protocol page, 10.3 and 10.5. Names of
//! functions are the page's where it has them; their further arguments are the sandbox's own.

use alloy_sol_types::sol;

sol! {
    /// A buyer's authorization to make an agreement and to fund it.
    #[derive(Debug)]
    struct BuyerActivationIntent {
        bytes32 agreementKey;
        bytes32 platformAgreementIdHash;
        address buyer;
        address seller;
        address token;
        uint256 quantity;
        uint256 pricePerUnit;
        uint256 depositAmount;
        uint256 challengeWindowSeconds;
        bytes32 serviceHash;
        bytes32 termsHash;
        uint256 expiry;
        uint256 nonce;
        bytes32 salt;
    }

    /// A buyer's authorization to fund an agreement that the platform makes.
    struct Deposit {
        uint256 agreementId;
        uint256 deadline;
    }

    /// A party's wish to close.
    struct CloseIntent {
        uint256 agreementId;
        uint256 nonce;
        uint256 deadline;
    }

    /// The seller's wish to be paid.
    struct SellerClaimIntent {
        uint256 agreementId;
        uint256 nonce;
        uint256 deadline;
    }

    /// The buyer's wish to have the rest back.
    struct BuyerWithdrawIntent {
        uint256 agreementId;
        uint256 nonce;
        uint256 deadline;
    }

    /// What a receipt says that the platform signs after each use.
    struct UsageReceipt {
        bytes32 agreementKey;
        uint256 cumulativeUnits;
        uint256 pricePerUnit;
        uint256 nonce;
    }

    /// What the platform says about an agreement that it makes for its parties.
    #[derive(Debug)]
    struct AgreementTerms {
        bytes32 agreementKey;
        address buyer;
        address seller;
        uint256 quantity;
        uint256 pricePerUnit;
        uint256 challengeWindowSeconds;
    }

    /// The contract.
    interface MeteringEscrow {
        event Funded(uint256 indexed agreementId, bytes32 indexed agreementKey,
            address indexed buyer, address seller, uint256 amount);
        event CloseInitiated(uint256 indexed agreementId, address indexed initiator,
            uint256 windowEnd);
        event SellerClaimed(uint256 indexed agreementId, address indexed seller, uint256 amount);
        event BuyerWithdrew(uint256 indexed agreementId, address indexed buyer, uint256 amount);

        function nonces(uint256 agreementId, address signer) external view returns (uint256);
        function buyerNonces(address buyer) external view returns (uint256);
        function agreements(uint256 agreementId) external view returns (address buyer,
            address seller, uint256 deposit, uint256 earned, uint256 claimed, uint256 withdrawn,
            uint256 windowEnd);

        function claim(uint256 agreementId) external;
        function sellerClaim(uint256 agreementId) external;
        function withdraw(uint256 agreementId) external;
        function buyerWithdraw(uint256 agreementId) external;
        function initiateClose(uint256 agreementId) external;
        function settle(uint256 agreementId) external;

        function initiateCloseWithSig(uint256 agreementId, address signer, uint256 nonce,
            uint256 deadline, bytes signature) external;
        function sellerClaimWithSig(uint256 agreementId, uint256 nonce, uint256 deadline,
            bytes signature) external;
        function buyerWithdrawWithSig(uint256 agreementId, uint256 nonce, uint256 deadline,
            bytes signature) external;
        function createAndFundBuyerAuthorized(BuyerActivationIntent intent, bytes signature,
            uint256 permitDeadline, bytes permitSignature) external returns (uint256);
        function depositFor(uint256 agreementId, AgreementTerms terms, uint256 deadline,
            bytes signature, uint256 permitDeadline, bytes permitSignature) external;
    }
}
